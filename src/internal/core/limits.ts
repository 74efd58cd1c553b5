/**
 * Limits of the record. The migrations hold some of them too; `test/unit/core/limits.test.ts` compares.
 */

/** Bytes of UTF-8 that an id, a name or a label has at most. */
export const longestName = 256

/** Bytes of the text of a key that is kept whole. Of a longer one `row_key` has the beginning and a hash, as `bounded_key` writes them. */
export const longestKey = 512

/** How deep impersonators nest at most. */
export const deepestImpersonator = 8

/** Bytes of JSON that a document of a filter has at most. */
export const largestDocument = 16_384

/** Items that a page has at most, and rows that one call names at most. */
export const largestPage = 1000

/** Items that a page has unless more or fewer are asked for. */
export const usualPage = 50

/** Changes that a batch of the feed has at most, and that it has unless more or fewer are asked for. */
export const largestBatch = 10_000
export const usualBatch = 1000

/** Seconds for which a consumer's name is held at most. */
export const longestLease = 86_400

/**
 * How far the instant of a change may precede that of the first change of its transaction, as an interval. Nothing is captured before its
 * transaction began; a day allows for a clock that was set back meanwhile.
 */
export const captureMayPrecede = "1 day"
