/**
 * Limits of what the record holds, and of what a caller may give and get. The migrations hold some of them too;
 * `test/unit/core/limits.test.ts` compares. The bounds of one option are where the option is decoded.
 */

/** The most bytes of UTF-8 that an id, a name or a label may have. */
export const longestName = 256

/**
 * The most bytes of a key's text that are kept whole. For a longer text, `row_key` holds its beginning and a hash, as
 * `bounded_key` writes them.
 */
export const longestKey = 512

/** How deep impersonators may nest. */
export const deepestImpersonator = 8

/** The most bytes of JSON that a document in a filter may have. */
export const largestDocument = 16_384

/** The most values that one field of a filter may list. */
export const mostValues = 50

/** The most bytes of an envelope, the context of a job as a string. */
export const largestEnvelope = 16_384

/** The most bytes of a saved filter as text. */
export const longestSavedFilter = 16_384

/** The most saved views of one owner. */
export const mostViews = 200

/** The most relations that one read may follow. */
export const mostRelations = 20

/** The most items of a page, and the most rows that one call may name. */
export const largestPage = 1000

/** The items of a page, unless a caller gives another limit. */
export const usualPage = 50

/** The most changes of a batch of the feed, and its changes unless a caller gives another limit. */
export const largestBatch = 10_000
export const usualBatch = 1000

/** The longest lease on a consumer's name, in seconds. */
export const longestLease = 86_400

/**
 * How far the instant of a change may precede that of the first change of its transaction, as an interval. Nothing is captured before its
 * transaction began; a day allows for a clock that was set back meanwhile.
 */
export const captureMayPrecede = "1 day"
