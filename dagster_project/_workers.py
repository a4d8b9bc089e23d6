"""A sync whose work several steps share: one lists, workers read and write, one closes.

An executor places the workers wherever it likes, starts them again, and need not know which of them lives: what they
share, and whose write still counts, is in the destination's own books. Nothing is passed from step to step, so that
steps on several machines need no storage in common.

Dagster reads the annotations of steps as they stand, so this file does not postpone their evaluation.
"""

import inspect
from collections.abc import Iterator, Mapping
from os import environ
from typing import Any, Final

import dagster as dg

from vectorferry import SyncOptions
from vectorferry.connector._engine import JoinOptions, JoinSummary, list_shards, run_join
from vectorferry.connector.plugin import ConfigurationError, VectorferryError
from vectorferry.dagster._failures import fail
from vectorferry.dagster._partitions import Collections
from vectorferry.dagster._resources import VectorferryResource
from vectorferry.dagster._run import WORKERS_INPUT, Selection
from vectorferry.dagster._termination import ended_with_run

ALONE: Final = 100
"""So many assets are read by the closing step itself: the start of a worker takes about as long."""


def shared_assets(assets: dg.AssetsDefinition, workers: int, schema: Mapping[str, dg.Field]) -> dg.AssetsDefinition:
    """The same assets, made by a graph: list, up to so many workers, and what made them before, which closes.

    Keys, partitions, checks, run configuration and whatever else is known by the assets stay as they are.
    """
    step, sources = assets.op, {name: dg.In(dg.Nothing) for name in assets.keys_by_input_name}
    common: dict[str, Any] = {
        "required_resource_keys": set(step.required_resource_keys),
        "tags": step.tags,
        "pool": step.pool,
    }

    @dg.op(
        name=f"{step.name}_list",
        description="Lists, and cuts what is to be read into shards.",
        ins=sources,
        out=dg.DynamicOut(dg.Nothing),
        config_schema=dict(schema),
        **common,
    )
    def list_step(context: dg.AssetExecutionContext) -> Iterator[dg.DynamicOutput[None]]:
        for number in range(1, min(workers, _list(context)) + 1):
            yield dg.DynamicOutput(None, mapping_key=f"worker_{number}")

    @dg.op(
        name=f"{step.name}_worker",
        description="Reads and writes shards until nothing is left. Run again, it simply joins again.",
        ins={"shards": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        **common,
    )
    def worker_step(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        summary = _join(context)
        yield dg.Output(None, metadata=summary.to_dict())

    closing_step = dg.OpDefinition(
        compute_fn=step.compute_fn,
        name=f"{step.name}_close",
        description=step.description or "Reads what is left, deletes, builds indexes, and says what there is.",
        ins={WORKERS_INPUT: dg.In(dg.Nothing), **step.ins},
        outs=step.outs,
        config_schema=dict(schema),
        **common,
    )

    @dg.config_mapping(config_schema=dict(schema))
    def of_both(config: Any) -> Mapping[str, Any]:
        return {each.name: {"config": config} for each in (list_step, closing_step)}

    def graph(**inputs: Any) -> Mapping[str, Any]:
        done = list_step(**inputs).map(worker_step).collect()
        made = closing_step(**{WORKERS_INPUT: done}, **inputs)
        return dict(zip(step.output_dict, [made] if len(step.output_dict) == 1 else made, strict=True))

    # Dagster reads the names of a graph's inputs from its signature.
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in sources]
    graph.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made = dg.graph(
        name=step.name,
        ins={name: dg.GraphIn() for name in sources},
        out={name: dg.GraphOut() for name in step.output_dict},
        config=of_both,
    )(graph)
    return dg.AssetsDefinition.dagster_internal_init(**{**assets.get_attributes_dict(), "node_def": made})


def _list(context: dg.AssetExecutionContext) -> int:
    """Cut what is to be read into shards; how many workers it is worth."""
    selection, config = _selection(context), context.op_execution_context.op_config
    if config["reread"]:
        context.log.info("everything is read again, which the closing step does by itself")
        return 0
    try:
        options = SyncOptions(
            collections=_collections(context, selection),
            modalities=selection.modalities,
            full=config["full"],
            run_id=context.run.run_id,
            started_by="dagster",
        )
        with ended_with_run(context):
            shared = list_shards(selection.narrowed, options, environ=environ)
    except VectorferryError as error:  # which the closing step meets again, and tells of each partition
        context.log.warning(f"nothing is shared: {error}")
        return 0
    for each in shared:
        context.log.info(
            f"{each.collection}: {each.listed} assets listed, {each.to_pull} to be read, in {each.shards} shards"
        )
        if each.error:
            context.log.warning(f"{each.collection}: {each.error}")
    if sum(each.to_pull for each in shared) <= ALONE:
        return 0
    return sum(each.shards for each in shared)


def _join(context: dg.AssetExecutionContext) -> JoinSummary:
    """Help until nothing is left to claim."""
    selection = _selection(context)
    name = f"{context.run.run_id[:8]} {context.op_execution_context.get_mapping_key()}"
    try:
        options = JoinOptions(collections=_collections(context, selection), name=name)
        with ended_with_run(context):
            summary = run_join(selection.narrowed, options, environ=environ)
    except VectorferryError as error:
        fail(context, {selection.settings.name: error}, total=1)
    context.log.info(f"{summary.assets} assets in {summary.shards} shards, {summary.features} features written")
    return summary


def _selection(context: dg.AssetExecutionContext) -> Selection:
    keys = context.op_execution_context.op_def.required_resource_keys
    resources = [getattr(context.resources, key) for key in sorted(keys)]
    for resource in resources:
        if isinstance(resource, VectorferryResource):
            return resource.selection(context)
    raise ConfigurationError(f"{context.op_execution_context.op_def.name}: its body takes no VectorferryResource")


def _collections(context: dg.AssetExecutionContext, selection: Selection) -> list[str]:
    """Ids of those of the step's partitions that the source has; what became of the others is for the closing step."""
    collections = Collections(selection.settings, environ)
    ids = []
    for key in context.partition_keys:
        try:
            ids.append(collections.id_of(key))
        except ConfigurationError as error:
            context.log.warning(str(error))
    return [each for each in ids if each is not None]
