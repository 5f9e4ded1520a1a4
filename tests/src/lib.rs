//! Stories across the rooms, outside checkers and the demonstration.
