/** Installs Threadline's schema in an empty database. */
import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import pg from "pg"

const migrations = join(import.meta.dirname, "..", "..", "migrations")

export const install = async (url: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query("begin")
    await client.query("create schema threadline")
    await client.query("set local search_path = threadline, pg_temp")
    for (const file of (await readdir(migrations)).filter((name) => name.endsWith(".sql")).sort()) {
      await client.query(await readFile(join(migrations, file), "utf8"))
    }
    await client.query("commit")
  } finally {
    await client.end()
  }
}
