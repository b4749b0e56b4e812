-- The position of an event above `seen` that matches one stream of a condition, null when there is none. Called by the append,
-- under the lock; its arguments are the append's. Made anew when an identifier is declared: each has a branch of its own, so that
-- nothing is planned during a call.
--
-- Ranges of (key, position) are rows compared with rows, which only the index on (key, position) can answer: a plan by the
-- primary key, tempting where the planner takes a key for frequent, would walk the log under the lock.
create or replace function @newer@(
  stream int, seen bigint, alone boolean, type_starts int[], stream_types text[], field_starts int[], field_names text[],
  value_starts int[], field_values text[]
) returns bigint language plpgsql volatile set search_path = pg_catalog, pg_temp as $newer$
declare
  newer     bigint;
  kinds     constant text[] := case when type_starts[stream] < type_starts[stream + 1]
                                    then stream_types[type_starts[stream] : type_starts[stream + 1] - 1] end;
  field     constant int := field_starts[stream];
  field_end constant int := field_starts[stream + 1];
  name      text;
  accepted  text[];
  wanted    text collate "C";
begin
  if field < field_end then
    name := field_names[field];
    accepted := field_values[value_starts[field] : value_starts[field + 1] - 1];
    <<declared>>
    foreach wanted in array accepted loop
      case name
@branches@
      else
        exit declared; -- without an index of its own
      end case;
      if newer is not null then
        return newer;
      end if;
    end loop;
    if name = any (@declared@) then
      return null;
    end if;
  end if;
  if kinds is not null then
    foreach wanted in array kinds loop
      select e.position into newer from @events@ e
       where (e.type, e.position) > (wanted, seen) and (e.type, e.position) <= (wanted, 9223372036854775807)
         and (name is null or (e.data ->> name) = any (accepted))
         and (alone or @matches@(e.data, field_names, value_starts, field_values, field, field_end))
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
     and (alone or @matches@(e.data, field_names, value_starts, field_values, field, field_end))
   order by e.position limit 1;
  return newer;
end
$newer$;
