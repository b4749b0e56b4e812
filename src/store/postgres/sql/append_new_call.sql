select @append_new@($3, $4, $5, $6, $7)
