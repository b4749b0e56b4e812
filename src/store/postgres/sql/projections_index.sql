create index @index@ on @projections@ (type, fingerprint, ((data ->> @field@) collate "C"));
