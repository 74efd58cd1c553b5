/**
 * "Did you mean": the suggestions that errors and the command line make, for an application's own messages.
 *
 * @since 0.1.0
 */
import * as suggest from "./internal/core/suggest.js"

/**
 * The candidate nearest to a word, if one is near. Capitals do not count. A third of the letters may be wrong, and always one;
 * two neighbours that changed places are one mistake. The schema of a table's name is not among the letters of which a third may be
 * wrong.
 *
 * @since 0.1.0
 * @category suggestions
 * @example
 * ```ts
 * import { Suggestion } from "threadline"
 *
 * // "invoices"
 * export const meant = Suggestion.nearest("invocies", ["invoices", "customers"])
 * ```
 */
export const nearest: (word: string, candidates: ReadonlyArray<string>) => string | undefined = suggest.nearest

/**
 * A sentence that ends with what was probably meant, as in `there is no table invocies; did you mean invoices?`. Without a
 * suggestion it is the sentence alone.
 *
 * @since 0.1.0
 * @category suggestions
 */
export const withSuggestion: (sentence: string, meant: string | undefined) => string = suggest.withSuggestion
