/** "Did you mean": the word of a list that is nearest to one that is not in it. */
import * as AutoCorrect from "@effect/cli/AutoCorrect"
import * as CliConfig from "@effect/cli/CliConfig"

const letters = (word: string): string => [...word].sort().join("")

/** How many letters are wrong; two that changed places count as one. */
const distance = (word: string, candidate: string): number => {
  const off = AutoCorrect.levensteinDistance(word, candidate, CliConfig.defaultConfig)
  return off === 2 && letters(word) === letters(candidate) ? 1 : off
}

/** The word that was probably meant, if one is near: a third of the letters may differ. */
export const nearest = (word: string, words: ReadonlyArray<string>): string | undefined => {
  const maxDistance = Math.max(1, Math.floor(word.length / 3))
  const [nearestCandidate] = words
    .map((candidate) => ({ candidate, off: distance(word, candidate) }))
    .filter(({ off }) => off <= maxDistance)
    .sort((a, b) => a.off - b.off)
  return nearestCandidate?.candidate
}

/** A sentence that ends with the word that was probably meant, if one is near. */
export const withSuggestion = (sentence: string, word: string, words: ReadonlyArray<string>): string => {
  const suggestion = nearest(word, words)
  return suggestion === undefined ? sentence : `${sentence}; did you mean ${suggestion}?`
}
