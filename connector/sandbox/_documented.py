"""The assets and features that Mixpeek's own guides show, under their documented ids."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._library import StoredAsset, StoredFeature
from vectorferry.connector.sandbox._vectors import PatchedVector, TextVector, VectorSource

__all__ = ["documented_assets"]

TEXT_ASSET = "60f391eb-b5ea-41cd-ba75-98d1bca25432"
TEXT_FEATURE = "98b693c0-6fc1-4420-97bd-6c4506356230"
IMAGE_ASSET = "cfa6c2a4-b695-4fc2-84df-868391b218e0"
IMAGE_FEATURE = "3086f1ee-62f1-49cf-b859-b553044aebed"
VIDEO_ASSET = "198dacbb-c7d2-41c3-b008-83ea41b29c31"

_AGILITY = (
    ("A still image of a dog at the edge of an agility course", "Ready? On your marks.", "AUSSIE AGILITY\n"),
    ("", "", ""),
    ("An Australian shepherd jumping over a double bar", "Over the double, lovely.", ""),
    ("The dog races along the dog walk and touches the yellow zone", 'Feet on yellow, "good" touch!', "DOG WALK\n"),
    ("Spinning around, the aussie finds the tunnel", "Tunnel, tunnel, tunnel!", ""),
    ("Slow motion of a dog leaping a hedge of flowers", "That is how high she jumps.", "SLOW MOTION\n"),
    ("The dog weaves through poles faster and faster", "In, out, in, out.", ""),
    ("A tired aussie lies down on the table for five seconds", "Five, four, three, two, one.", "TABLE\n"),
    ("The handler slips on wet grass while the dog waits", "Oh no! Up again.", ""),
    ("Last jumps towards the finish line", "Go, go, go!", "FINISH\n"),
    ("The crowd cheers for the dog and its handler", "What a run!", ""),
    ("Credits over a photo of a dog with a rosette", "Thanks for watching.\n", "THE END\nwoof\n"),
)


def documented_assets() -> tuple[StoredAsset, ...]:
    """A text and an image in the collection `example`, and the quickstart's video in `quickstart`."""
    return _text(), _image(), _video()


def _text() -> StoredAsset:
    asset = _asset(
        TEXT_ASSET,
        "example",
        {
            "url": None,
            "metadata": {"asset": {}, "author": "user", "preview_url": None},
            "modality": "text",
            "task_id": "3f0189c2-2f49-4119-851d-56a5701436a9",
            "unique_hash": None,
            "updated_at": "2024-11-07T14:31:56.428000",
            "created_at": "2024-11-07T14:31:55.473000",
        },
    )
    words = "two people inside a car"
    fields = {
        "feature_id": TEXT_FEATURE,
        "modality": "text",
        "asset_id": TEXT_ASSET,
        "collection_id": "example",
        "metadata": {"author": "user"},
        "text": words,
        "created_at": "2024-11-07T14:31:56.053031Z",
    }
    vectors: dict[str, VectorSource] = {
        name: TextVector(words, name) for name in ("multimodal-v1", "baai-bge-m3", "splade-v3")
    }
    asset.features[TEXT_FEATURE] = StoredFeature(TEXT_FEATURE, TEXT_ASSET, fields, vectors)
    return asset


def _image() -> StoredAsset:
    asset = _asset(
        IMAGE_ASSET,
        "example",
        {
            "url": "https://media.example.com/example/3086f1ee.jpg",
            "metadata": {},
            "modality": "image",
            "task_id": "857056f8-1f0d-4cad-aa37-96757e12872e",
            "updated_at": "2024-11-06T18:19:44.102000",
            "created_at": "2024-11-06T18:19:40.006000",
        },
    )
    fields = {
        "created_at": "2024-11-06T18:19:43.340820Z",
        "asset_id": IMAGE_ASSET,
        "metadata": {},
        "feature_id": IMAGE_FEATURE,
        "modality": "image",
    }
    # The guide prints the first two numbers of this vector and leaves out the rest.
    vector = PatchedVector("an example", "multimodal-v1", (-0.022097813, 0.021723306))
    asset.features[IMAGE_FEATURE] = StoredFeature(IMAGE_FEATURE, IMAGE_ASSET, fields, {"multimodal-v1": vector})
    return asset


def _video() -> StoredAsset:
    asset = _asset(
        VIDEO_ASSET,
        "quickstart",
        {
            "url": "https://media.example.com/quickstart/aussie_agility.mp4",
            "metadata": {"hello": "world"},
            "modality": "video",
            "task_id": "7c9be6a5-5f0e-4c43-9e34-08b1c1d3a9b1",
            "updated_at": "2024-11-06T21:07:12.900000",
            "created_at": "2024-11-06T21:04:31.250000",
        },
    )
    for part, (seen, said, written) in enumerate(_AGILITY):
        feature = _segment(part, seen, said, written) if part != 1 else _printed_segment()
        asset.features[feature.feature_id] = feature
    return asset


def _asset(asset_id: str, collection_id: str, fields: dict[str, Any]) -> StoredAsset:
    always = {"asset_id": asset_id, "collection_id": collection_id, "status": "DONE", "error": None, "score": None}
    return StoredAsset(asset_id, collection_id, {**always, **fields})


def _printed_segment() -> StoredFeature:
    said = (
        "0:10 Can't lose weight. She might have high cortisol levels. 0:15 Neck, shoulder, and back tension. "
        'Often due to "fight or flight" stress response. 0:19 Procrastination is a freeze response to trauma. \n'
    )
    written = "CORTISOL DETOX\nSomatic Yoga challenge\n"
    feature = _segment(1, "The video starts with a still image ...", said, written)
    feature.fields["transcription"] = said
    return feature


def _segment(part: int, seen: str, said: str, written: str) -> StoredFeature:
    feature_id = f"{VIDEO_ASSET[:-2]}{0x40 + part:02x}"
    fields = {
        "feature_id": feature_id,
        "modality": "video",
        "asset_id": VIDEO_ASSET,
        "collection_id": "quickstart",
        "metadata": {"hello": "world"},
        "start_time": part * 10.0,
        "end_time": part * 10.0 + 10.0,
        "interval_sec": 10,
        "transcription": f"{part * 10 // 60}:{part * 10 % 60:02} {said}",
        "text": written,
        "description": seen,
        "json_output": {"emotions": ["excited"] if part % 3 else ["calm", "focused"]},
        "created_at": f"2024-11-06T21:07:{part:02}.{418_203 + part:06}Z",
    }
    words = {"multimodal-v1": f"{seen} {said} {written}", "baai-bge-m3": said}
    vectors: dict[str, VectorSource] = {name: TextVector(text, name) for name, text in words.items()}
    return StoredFeature(feature_id, VIDEO_ASSET, fields, vectors)
