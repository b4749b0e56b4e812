insert into @meta@ (key, value) values ($1::text, $2::text) on conflict (key) do nothing
