//! The abilities that a component asks for, that an operator grants, and that a session gets.
