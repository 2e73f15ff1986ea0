//! What serves a connection: the traits between the SSH server and the pods, agents and hosts behind it
