//! The program as its users call it: exit codes, what goes where, and the README's own commands.

mod cases;
mod connect;
mod descriptors;
mod files;
mod process;
mod quickstart;
mod running;
mod watched;
