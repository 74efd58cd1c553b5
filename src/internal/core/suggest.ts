/** Finds the name that was probably meant. */

const distance = (a: string, b: string): number => {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      current.push(
        Math.min(
          (previous[j] ?? 0) + 1,
          (current[j - 1] ?? 0) + 1,
          (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
        )
      )
    }
    previous = current
  }
  return previous[b.length] ?? 0
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
  const own = name.length - (name.lastIndexOf(".") + 1)
  return best !== undefined && best.off <= Math.max(1, Math.floor(own / 3)) ? best.candidate : undefined
}
