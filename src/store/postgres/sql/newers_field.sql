  if @field@ = any (leads) then
    select array_agg(s.number), array_agg(n.position) into streams, positions
      from unnest(leads) with ordinality as s (lead, number)
     cross join lateral generate_series(value_starts[field_starts[s.number]],
                                        value_starts[field_starts[s.number] + 1] - 1) as v (at)
     cross join lateral (
       select e.position from @events@ e
        where (e.data ->> @field@) is not null
          and ((e.data ->> @field@) collate "C", e.position) > (field_values[v.at], seens[s.number])
          and ((e.data ->> @field@) collate "C", e.position) <= (field_values[v.at], 9223372036854775807)
          and (type_starts[s.number] = type_starts[s.number + 1]
               or e.type = any (stream_types[type_starts[s.number] : type_starts[s.number + 1] - 1]))
          and (alones[s.number] or @matches@(e.data, field_names, value_starts, field_values, field_starts[s.number],
                                             field_starts[s.number + 1]))
        limit 1
     ) n
     where s.lead = @field@;
    for found in 1 .. coalesce(array_length(streams, 1), 0) loop
      answers[streams[found]] := positions[found];
    end loop;
  end if;
