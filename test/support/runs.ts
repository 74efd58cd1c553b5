const factor = Number(process.env["THREADLINE_TEST_RUNS"] ?? 1)

/**
 * The number of random cases of a property: `usual`, times `THREADLINE_TEST_RUNS` if that is set, such as 20 for a
 * search overnight, or 0.1 for a quick check.
 */
export const runs = (usual: number): number => Math.max(1, Math.round(usual * factor))

/**
 * The seed of random cases. It is the same in every run, so that a test that passes today passes tomorrow.
 * `THREADLINE_TEST_SEED` sets another one, for a search overnight.
 */
export const seed = Number(process.env["THREADLINE_TEST_SEED"] ?? 20_261_129)
