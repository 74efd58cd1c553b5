/** How much of the record the checks of health look at, at most. What they say names these numbers. */

/** The most transactions of the last day that are looked at. */
export const mostTransactions = 100_000

/** The most rows of the default partition that are counted. */
export const mostDefaultRows = 1000
