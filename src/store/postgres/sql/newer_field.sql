      when @field@ then
        select e.position into newer from @events@ e
         where (e.data ->> @field@) is not null
           and ((e.data ->> @field@) collate "C", e.position) > (wanted, seen)
           and ((e.data ->> @field@) collate "C", e.position) <= (wanted, 9223372036854775807)
           and (kinds is null or e.type = any (kinds))
           and (alone or @matches@(e.data, field_names, value_starts, field_values, field, field_end))
         limit 1;
