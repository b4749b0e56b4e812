-- PostgreSQL lets everybody execute a new function; who may save is for the owner to say.
revoke all on function @append@, @append_rows@, @append_one@, @append_new@, @newers@, @newer@, @matches@ from public;
