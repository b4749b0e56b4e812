-- Are a session's settings what annal would set? Behind a pooler they are the role's.
select current_setting('default_transaction_isolation') = 'read committed',
       current_setting('statement_timeout') <> '0',
       current_setting('idle_in_transaction_session_timeout') <> '0',
       current_user::text
