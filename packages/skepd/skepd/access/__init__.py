"""Who may sign in: accounts, the first link, sessions, lock-out, audit. Synchronous, thread-safe, knows no HTTP."""
