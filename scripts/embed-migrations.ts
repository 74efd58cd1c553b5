/**
 * Writes src/internal/schema/files.ts from migrations/*.sql, so that bundlers need no file beside the code.
 * `--check` writes nothing and fails where the file is stale.
 */
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = Path.resolve(Path.dirname(fileURLToPath(import.meta.url)), "..")
const target = Path.join(root, "src/internal/schema/files.ts")

/** Line endings and a byte order mark are an editor's business: they change neither the text nor its checksum. */
const normalized = (text: string): string =>
  `${text
    .replace(/^\uFEFF/, "")
    .replace(/\r\n?/g, "\n")
    .trimEnd()}\n`

const templateLiteral = (text: string): string => `\`${text.replace(/[\\`]|\$(?=\{)/g, (special) => `\\${special}`)}\``

/** The text of src/internal/schema/files.ts for a directory of migrations. */
export const embedded = (directory: string = Path.join(root, "migrations")): string => {
  const names = Fs.readdirSync(directory)
    .filter((name) => name.endsWith(".sql"))
    .sort()
  const entries = names.map((file, index) => {
    const parts = /^(\d{4})_([a-z0-9_]+)\.sql$/.exec(file)
    if (parts === null || Number(parts[1]) !== index + 1) {
      throw new Error(`${file}: expected a file ${String(index + 1).padStart(4, "0")}_<name>.sql here`)
    }
    const sql = normalized(Fs.readFileSync(Path.join(directory, file), "utf8"))
    const checksum = createHash("sha256").update(sql, "utf8").digest("hex")
    return [
      "  {",
      `    id: ${index + 1},`,
      `    name: "${parts[2] ?? ""}",`,
      `    checksum: "${checksum}",`,
      `    sql: ${templateLiteral(sql)}`,
      "  }"
    ].join("\n")
  })
  return [
    "/**",
    " * Written by scripts/embed-migrations.ts from migrations/*.sql. Change those files, not this one.",
    " */",
    "export const migrationFiles = [",
    entries.join(",\n"),
    "] as const",
    ""
  ].join("\n")
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = embedded()
  const same = Fs.existsSync(target) && Fs.readFileSync(target, "utf8") === text
  // What is right already is not written: another process may be reading it.
  if (!same && !process.argv.includes("--check")) {
    Fs.writeFileSync(target, text)
  } else if (!same) {
    process.stderr.write("src/internal/schema/files.ts is stale: run tsx scripts/embed-migrations.ts\n")
    process.exitCode = 1
  }
}
