/** Gives the present instant by the clock of the server, with microseconds. Cases take it before and after what they do. */
export const instantNow = `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
