      when @field@ then
        insert into @events@ (position, id, type, version, data, metadata, created_at)
          select next, event_id, event_type, event_version, event_data, event_metadata, clock
           where not exists (
               select from @events@ e
                where (e.data ->> @field@) is not null
                  and ((e.data ->> @field@) collate "C", e.position) > (lead_value, seen)
                  and ((e.data ->> @field@) collate "C", e.position) <= (lead_value, 9223372036854775807)
                  and (stream_types is null or e.type = any (stream_types)))
          returning (position = next and id = event_id)::int into kept;
