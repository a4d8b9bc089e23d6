-- Dagster's own storage and the vectors, in one server. Read once, when the volume is empty.
CREATE DATABASE dagster;
CREATE DATABASE media;
\connect media
CREATE EXTENSION vector;
