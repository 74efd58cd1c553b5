/** Finds the name that was probably meant. */

const distance = (left: string, right: string): number => {
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const current = [i]
    for (let j = 1; j <= right.length; j++) {
      current.push(
        Math.min(
          (previous[j] ?? 0) + 1,
          (current[j - 1] ?? 0) + 1,
          (previous[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1)
        )
      )
    }
    previous = current
  }
  return previous[right.length] ?? 0
}

/** The candidate nearest to `name`, if it is near: other capitals, or few other letters. */
export const nearest = (name: string, candidates: ReadonlyArray<string>): string | undefined => {
  const lowerCase = name.toLowerCase()
  let best: { readonly candidate: string; readonly off: number } | undefined
  for (const candidate of candidates) {
    // A difference in length alone says that it is too far off.
    if (Math.abs(candidate.length - name.length) <= 3) {
      const off = distance(lowerCase, candidate.toLowerCase())
      if (best === undefined || off < best.off) {
        best = { candidate, off }
      }
    }
  }
  // A schema in front makes a name longer, not likelier.
  const ownLength = name.length - (name.lastIndexOf(".") + 1)
  return best !== undefined && best.off <= Math.max(1, Math.floor(ownLength / 3)) ? best.candidate : undefined
}
