-- The index of a declared field of views. Its condition keeps it from being taken for the primary key, which begins alike.
create index @index@ on @projections@ (type, fingerprint, ((data ->> @field@) collate "C")) where (data ->> @field@) is not null;
