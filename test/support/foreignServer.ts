/** A foreign server of the tests. */
import { literal } from "../../src/internal/sql/sqlText.js"
import type { Host } from "./adversarial.js"

/** The statements that make the server `here`: this database itself, for the role of the test alone. */
export const foreignServer = ({ database }: Host): ReadonlyArray<string> => {
  const { hostname, password, pathname, port, username } = new URL(database.url)
  const quoted = (text: string) => literal(decodeURIComponent(text))
  return [
    "create extension if not exists postgres_fdw with schema pg_catalog",
    "drop server if exists here cascade",
    `create server here foreign data wrapper postgres_fdw
     options (dbname ${quoted(pathname.slice(1))}, host ${quoted(hostname)}, port ${quoted(port)})`,
    `create user mapping for current_user server here options (user ${quoted(username)}, password ${quoted(password)})`
  ]
}
