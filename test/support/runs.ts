const factor = Number(process.env["THREADLINE_TEST_RUNS"] ?? 1)

/**
 * On how many random cases a property is tried: as many as the test says, times `THREADLINE_TEST_RUNS` where that is set: 20 for a
 * night's search, 0.1 for a quick look.
 */
export const runs = (usual: number): number => Math.max(1, Math.round(usual * factor))

/**
 * What random cases begin with. It is the same in every run, so that what passes today passes tomorrow; `THREADLINE_TEST_SEED` chooses
 * others, for a night's search.
 */
export const seed = Number(process.env["THREADLINE_TEST_SEED"] ?? 20_261_129)
