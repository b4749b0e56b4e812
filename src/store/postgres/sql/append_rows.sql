-- The append, for saves that bring rows of projections with them: those of a save are written if it is stored, in the one
-- transaction, under the one lock. A retry of what was stored writes none.
--
-- Rows are locked by type, fingerprint and id, as everybody locks them. They take the place of any other: those of events that come
-- under the lock are newer than all there is. (A row at a higher position is of events that are not stored any more.) Where several
-- saves of a call bring one instance, the last has seen the others' events.
--
-- With the rights of whoever calls, who may write rows anyway.
create or replace function @append_rows@(
  save_starts int[], flushes boolean[], event_ids text[], event_types text[], event_versions int[], event_data json[],
  event_metadata json[], event_times timestamptz[], stream_starts int[], after_ids text[], leads text[], alones boolean[],
  type_starts int[], stream_types text[], field_starts int[], field_names text[], value_starts int[], field_values text[],
  lock_ms int, host_clock timestamptz,          -- the append's
  row_saves        int[],        -- the save that each row belongs to, from 1
  row_lasts        int[],        -- the last event of it that is the instance's, from 0
  row_types        text[],
  row_fingerprints text[],
  row_ids          text[],
  row_states       json[],
  row_data         json[]
) returns @answer@ language plpgsql volatile security invoker
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '10s'
  set plan_cache_mode = force_generic_plan
  set jit = off
as $append_rows$
declare
  answer @answer@;
begin
  answer := @append@(save_starts, flushes, event_ids, event_types, event_versions, event_data, event_metadata,
                      event_times, stream_starts, after_ids, leads, alones,
                     type_starts, stream_types, field_starts, field_names, value_starts, field_values,
                     lock_ms, host_clock);
  perform set_config('lock_timeout', lock_ms::text, true) where lock_ms is not null;
  insert into @projections@ (type, fingerprint, id, state, data, position, latest_event_id, created_at, updated_at)
  select distinct on (n.type, n.fingerprint, n.id)
         n.type, n.fingerprint, n.id, n.state, n.data,
         coalesce(answer.positions[n.save], answer.positions[1] + save_starts[n.save] - 1) + n.last,
         event_ids[save_starts[n.save] + n.last],
         coalesce(host_clock, statement_timestamp()), coalesce(host_clock, statement_timestamp())
    from (select r.save, r.last, r.type collate "C", r.fingerprint collate "C", r.id collate "C", r.state, r.data
            from unnest(row_saves, row_lasts, row_types, row_fingerprints, row_ids, row_states, row_data)
                 as r (save, last, type, fingerprint, id, state, data)
           where coalesce(answer.results[r.save], 0) = 0) n
   order by n.type, n.fingerprint, n.id, n.save desc
  on conflict (type, fingerprint, id) do update
     set state = excluded.state, data = excluded.data, position = excluded.position,
         latest_event_id = excluded.latest_event_id, updated_at = excluded.updated_at;
  return answer;
end
$append_rows$;
