/** "Did you mean": the name or word that was probably meant. */
import { didYouMean } from "./words.js"

/** How many letters are wrong, missing or too many. Two neighbours that changed places count as one mistake. */
const mistakes = (a: string, b: string): number => {
  let beforePrevious: ReadonlyArray<number> = []
  let previous: ReadonlyArray<number> = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      current.push(
        Math.min(
          (previous[j] ?? 0) + 1,
          (current[j - 1] ?? 0) + 1,
          (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
          swapped ? (beforePrevious[j - 2] ?? 0) + 1 : Infinity
        )
      )
    }
    beforePrevious = previous
    previous = current
  }
  return previous[b.length] ?? 0
}

/**
 * The candidate nearest to `word`, if one is near. Near means other capitals, or at most a third of its letters wrong; one wrong
 * letter is always near.
 */
export const nearest = (word: string, candidates: ReadonlyArray<string>): string | undefined => {
  // A schema in front makes a name longer, not likelier.
  const ownLength = word.length - (word.lastIndexOf(".") + 1)
  const most = Math.max(1, Math.floor(ownLength / 3))
  const lowerCase = word.toLowerCase()
  let best: { readonly candidate: string; readonly off: number } | undefined
  for (const candidate of candidates) {
    // A difference in length alone says that it is too far off.
    if (Math.abs(candidate.length - word.length) <= most) {
      const off = mistakes(lowerCase, candidate.toLowerCase())
      if (off <= most && (best === undefined || off < best.off)) {
        best = { candidate, off }
      }
    }
  }
  return best?.candidate
}

/** A sentence that ends with what was probably meant, if that is known. */
export const withSuggestion = (sentence: string, meant: string | undefined): string =>
  meant === undefined ? sentence : `${sentence}; ${didYouMean} ${meant}?`
