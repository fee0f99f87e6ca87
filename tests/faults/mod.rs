//! What may die, break or fill up, and what must hold all the same.

mod crash_points;
mod full_spool;
mod kill_rounds;
mod losses;
mod outage;
mod spools;
mod stall;
mod together;
