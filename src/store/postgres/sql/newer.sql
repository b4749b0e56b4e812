-- The position of an event that matches one stream of a condition above the event its reader saw; null when there is none, 0 when
-- the event that was seen is not stored. Called by the append, under the lock; its arguments are the append's. Made anew when an
-- identifier is declared: each has a branch of its own, so that nothing is planned during a call.
--
-- Ranges of (key, position) are rows compared with rows, which only the index on (key, position) can answer: a plan by the
-- primary key, tempting where the planner takes a key for frequent, would walk the log under the lock.
create or replace function @newer@(
  stream int, after_ids text[], leads text[], alones boolean[], type_starts int[], stream_types text[], field_starts int[],
  field_names text[], value_starts int[], field_values text[]
) returns bigint language plpgsql volatile set search_path = pg_catalog, pg_temp as $newer$
declare
  newer    bigint;
  seen     bigint := 0;
  name     text;
  accepted text[];
begin
  if after_ids[stream] is not null then
    select e.position into seen from @events@ e where e.id = after_ids[stream];
    if seen is null then
      return 0;
    end if;
  end if;

  -- Along the index of its leading field, which is declared.
  if leads[stream] is not null then
    for at in value_starts[field_starts[stream]] .. value_starts[field_starts[stream] + 1] - 1 loop
      case leads[stream]
@branches@
        else raise exception 'the identifier "%" has no branch in annal_newer_1', leads[stream] using errcode = 'internal_error';
      end case;
      if newer is not null then
        return newer;
      end if;
    end loop;
    return null;
  end if;

  -- Along the index of types, or from `seen` to the head; fields without an index are looked at in each event.
  if field_starts[stream] < field_starts[stream + 1] then
    name := field_names[field_starts[stream]];
    accepted := field_values[value_starts[field_starts[stream]] : value_starts[field_starts[stream] + 1] - 1];
  end if;
  if type_starts[stream] < type_starts[stream + 1] then
    for at in type_starts[stream] .. type_starts[stream + 1] - 1 loop
      select e.position into newer from @events@ e
       where (e.type, e.position) > (stream_types[at], seen) and (e.type, e.position) <= (stream_types[at], 9223372036854775807)
         and (name is null or (e.data ->> name) = any (accepted))
         and (alones[stream] or @matches@(e.data, field_names, value_starts, field_values, field_starts[stream],
                                          field_starts[stream + 1]))
       limit 1;
      if newer is not null then
        return newer;
      end if;
    end loop;
    return null;
  end if;
  select e.position into newer from @events@ e
   where e.position > seen
     and (name is null or (e.data ->> name) = any (accepted))
     and (alones[stream] or @matches@(e.data, field_names, value_starts, field_values, field_starts[stream],
                                      field_starts[stream + 1]))
   order by e.position limit 1;
  return newer;
end
$newer$;
