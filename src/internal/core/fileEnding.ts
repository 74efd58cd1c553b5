/** How the files of exports end: the name of a format, and what a compression around it adds. The command line reads it out of a file's name. */

export const compressedEndings = { gzip: ".gz", zstd: ".zst" } as const

const compressions = ["gzip", "zstd"] as const satisfies ReadonlyArray<keyof typeof compressedEndings>

/** The compression that a file's name ends in. */
export const compressionOf = (name: string): keyof typeof compressedEndings | undefined =>
  compressions.find((compression) => name.toLowerCase().endsWith(compressedEndings[compression]))

/** The format that a file's name ends in, compressed or not. Others call NDJSON `jsonl`. */
export const formatOf = <Format extends string>(name: string, formats: ReadonlyArray<Format>): Format | undefined => {
  const lower = name.toLowerCase()
  const compression = compressionOf(name)
  const plain = compression === undefined ? lower : lower.slice(0, -compressedEndings[compression].length)
  return formats.find((format) => plain.endsWith(`.${format}`) || (format === "ndjson" && plain.endsWith(".jsonl")))
}
