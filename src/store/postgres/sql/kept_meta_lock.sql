select m.value from @meta@ m where m.key = $1::text for update
