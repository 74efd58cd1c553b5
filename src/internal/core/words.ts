/**
 * Small parts of English sentences: numbers with their nouns, short names, suggestions. The command line and the pages use it, too: words are
 * no part of the API.
 */

/** The form of a word that a count takes. */
export const agreeing = (count: number, one: string, several = `${one}s`): string => (count === 1 ? one : several)

/** A number and its noun. `several` is the noun with an s unless given. */
export const many = (count: number, one: string, several?: string): string =>
  `${String(count)} ${agreeing(count, one, several)}`

/** A table as people say it: without the schema `public`, which they leave out. */
export const shortTable = (table: string): string =>
  table.startsWith("public.") ? table.slice("public.".length) : table

/** The words before what was probably meant. */
export const didYouMean = "did you mean"
