-- The tables of version 1. Words between @ signs are names, put in quoted (names.c).
create schema if not exists @schema@;

-- The log. json and not jsonb: jsonb turns 1e15 into an integer and -0.0 into 0.0. Ids, types and identifiers compare bytewise.
create table @events@ (
  position   bigint primary key,
  id         text collate "C" not null unique,
  type       text collate "C" not null,
  version    int not null,
  data       json not null,
  metadata   json,
  created_at timestamptz not null
);
create index @events_type_index@ on @events@ (type, position);

-- Saved rows of projections; state is null and fingerprint '' for rows saved by hand.
create table @projections@ (
  type            text collate "C" not null,
  fingerprint     text collate "C" not null,
  id              text collate "C" not null,
  state           json,
  data            json not null,
  position        bigint not null,
  latest_event_id text collate "C" not null,
  created_at      timestamptz not null,
  updated_at      timestamptz not null,
  primary key (type, fingerprint, id)
);

-- What the store knows about itself: versions, its random id, names of the tables, declared fields, indexes.
create table @meta@ (
  key   text collate "C" primary key,
  value text collate "C" not null
);

-- How far each kept set of rows has come.
create table @checkpoints@ (
  type        text collate "C" not null,
  fingerprint text collate "C" not null,
  position    bigint not null,
  event_id    text collate "C",
  updated_at  timestamptz not null,
  primary key (type, fingerprint)
);

-- Instances whose script failed, with the event at which it did.
create table @parked@ (
  type        text collate "C" not null,
  fingerprint text collate "C" not null,
  id          text collate "C" not null,
  event_id    text collate "C" not null,
  error       text not null,
  primary key (type, fingerprint, id)
);
