/** "Did you mean": the word of a list that is nearest to one that is not in it. */
import * as AutoCorrect from "@effect/cli/AutoCorrect"
import * as CliConfig from "@effect/cli/CliConfig"

const letters = (word: string): string => [...word].sort().join("")

/** How many letters are wrong; two that changed places count as one. */
const distance = (a: string, b: string): number => {
  const off = AutoCorrect.levensteinDistance(a, b, CliConfig.defaultConfig)
  return off === 2 && letters(a) === letters(b) ? 1 : off
}

/** The word that was probably meant, if one is near: a third of the letters may differ. */
export const nearest = (word: string, words: ReadonlyArray<string>): string | undefined => {
  const most = Math.max(1, Math.floor(word.length / 3))
  const [best] = words
    .map((candidate) => ({ candidate, off: distance(word, candidate) }))
    .filter(({ off }) => off <= most)
    .sort((a, b) => a.off - b.off)
  return best?.candidate
}

/** A sentence that ends with the word that was probably meant, if one is near. */
export const withSuggestion = (sentence: string, word: string, words: ReadonlyArray<string>): string => {
  const meant = nearest(word, words)
  return meant === undefined ? sentence : `${sentence}; did you mean ${meant}?`
}
