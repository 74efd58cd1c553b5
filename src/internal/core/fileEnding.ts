/** How the files of exports end: the name of a format, and what a compression around it adds. The command line reads it out of a file's name. */

export const compressedEndings = { gzip: ".gz", zstd: ".zst" } as const

/** The format that a file's name ends in, compressed or not. Others call NDJSON `jsonl`. */
export const formatOf = <Format extends string>(name: string, formats: ReadonlyArray<Format>): Format | undefined => {
  const lower = name.toLowerCase()
  const compressed = Object.values(compressedEndings).find((ending) => lower.endsWith(ending))
  const plain = compressed === undefined ? lower : lower.slice(0, -compressed.length)
  return formats.find((format) => plain.endsWith(`.${format}`) || (format === "ndjson" && plain.endsWith(".jsonl")))
}
