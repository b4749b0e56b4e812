select m.key, m.value from @meta@ m order by m.key
