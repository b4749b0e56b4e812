create index @index@ on @events@ (((data ->> @field@) collate "C"), position) where (data ->> @field@) is not null;
