"""Jobs: the spool folder, the database, what is kept and for how long, and what a restart makes of it."""
