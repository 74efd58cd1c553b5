/**
 * Cursors: the position of the last item of a page, bound to the query by a hash of it.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { Cursor } from "../Page.js"
import { InvalidRequest } from "../ThreadlineError.js"
import { inRange } from "./queryInstant.js"
import { isId } from "./queryRequest.js"

/** Two numbers that order the items of a query: transaction and change, or microseconds and change. */
export interface Position {
  readonly major: bigint
  readonly id: bigint
}

/** What identifies a query: the kind of read, and everything of its request but the size of the page. */
export interface Query {
  readonly kind: string
  /** What `major` of a position is. */
  readonly order: "ids" | "time"
  /** Canonical: equal queries have equal texts. */
  readonly text: string
}

const version = "1"

const makeCursor = Schema.decodeSync(Cursor)

const hash = (query: Query): string =>
  createHash("sha256").update(`${query.kind}\0${query.text}`).digest("base64url").slice(0, 16)

export const encode = (query: Query, position: Position): Cursor =>
  makeCursor(Buffer.from([version, hash(query), position.major, position.id].join(" ")).toString("base64url"))

const refused = (rule: string) => Either.left(new InvalidRequest({ field: "cursor", rule }))

export const decode = (query: Query, cursor: string): Either.Either<Position, InvalidRequest> => {
  const text = Buffer.from(cursor, "base64url").toString("utf8")
  const [found, bound, major, id, ...rest] = text.split(" ")
  if (Buffer.from(text).toString("base64url") !== cursor || found === undefined || !/^[0-9]{1,3}$/.test(found)) {
    return refused("is not a cursor")
  }
  if (found !== version) {
    return refused("was made by another version of Threadline")
  }
  if (
    bound === undefined ||
    major === undefined ||
    id === undefined ||
    rest.length > 0 ||
    !/^(0|-?[1-9][0-9]{0,18})$/.test(major) ||
    !/^[0-9]+$/.test(id)
  ) {
    return refused("is not a cursor")
  }
  if (bound !== hash(query)) {
    return refused("belongs to another query")
  }
  const position = { major: BigInt(major), id: BigInt(id) }
  return isId(id) && (query.order === "time" ? inRange(position.major) : isId(major))
    ? Either.right(position)
    : refused("is not a cursor")
}
