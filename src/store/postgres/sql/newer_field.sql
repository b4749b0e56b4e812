        when @field@ then
          select e.position into newer from @events@ e
           where (e.data ->> @field@) is not null
             and ((e.data ->> @field@) collate "C", e.position) > (field_values[at], seen)
             and ((e.data ->> @field@) collate "C", e.position) <= (field_values[at], 9223372036854775807)
             and (type_starts[stream] = type_starts[stream + 1]
                  or e.type = any (stream_types[type_starts[stream] : type_starts[stream + 1] - 1]))
             and (alones[stream] or @matches@(e.data, field_names, value_starts, field_values, field_starts[stream],
                                              field_starts[stream + 1]))
           limit 1;
