/**
 * The place that a feed has reached, as a small opaque string. It is bound to the tables of the feed.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { InvalidRequest } from "../../ThreadlineError.js"
import { everything, type Snapshot } from "./snapshot.js"

/**
 * Where a feed continues, as an opaque string. It belongs to the tables that the feed was read with. With other tables it is an
 * `InvalidRequest` of the field `checkpoint`. The size of the batches may change.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Checkpoint = Schema.String.pipe(Schema.brand("threadline/Feed/Checkpoint"))

/**
 * @since 0.1.0
 * @category models
 */
export type Checkpoint = typeof Checkpoint.Type

/** A transaction of which everything up to a change is delivered. */
export interface Open {
  readonly xid: bigint
  readonly after: bigint
}

/**
 * A window that is being delivered: the transactions that are visible in `to` and were not visible before. Their changes are
 * delivered in the order of their ids. Transactions are taken up in the order of their own ids. `open` are the transactions that
 * are taken up and not delivered to their end.
 */
export interface Window {
  readonly to: Snapshot
  /** Transactions up to this one are taken up. */
  readonly entered: bigint
  readonly open: ReadonlyArray<Open>
  /** The last change that was delivered, or that was passed over. */
  readonly last: bigint
}

export interface Position {
  /** Everything of the epochs before it is delivered. */
  readonly epoch: number
  /** The cluster in which the epoch is, see `clusterOf`. */
  readonly cluster: string
  /** Of this epoch, everything that is visible in this snapshot is delivered. */
  readonly delivered: Snapshot
  readonly window: Window | undefined
}

const version = "1"

const maxXid = everything.end

/** A limit on what a few characters of a forged checkpoint can expand to. */
const maxRunning = 200_000

const makeCheckpoint = Schema.decodeSync(Checkpoint)

const digest = (text: string): string => createHash("sha256").update(text).digest("base64url").slice(0, 12)

/** Identifies a cluster and its timeline. */
export const clusterOf = (systemIdentifier: string, timeline: string): string =>
  digest(`${systemIdentifier}/${timeline}`)

const binding = (tables: ReadonlyArray<string>): string => digest([...new Set(tables)].sort().join("\0"))

/** Ascending numbers as their distances, `5,1+3` for 5 and 6 to 9. */
const encodeNumbers = (numbers: ReadonlyArray<bigint>): string => {
  const parts: Array<string> = []
  let before = 0n
  for (let index = 0; index < numbers.length;) {
    const first = numbers[index] ?? 0n
    let count = 1
    while (numbers[index + count] === first + BigInt(count)) {
      count++
    }
    parts.push(count === 1 ? String(first - before) : `${first - before}+${count - 1}`)
    before = first + BigInt(count - 1)
    index += count
  }
  return parts.join(",")
}

const decodeNumbers = (text: string): ReadonlyArray<bigint> | undefined => {
  const numbers: Array<bigint> = []
  let before = 0n
  for (const part of text === "" ? [] : text.split(",")) {
    const match = /^(0|[1-9]\d{0,18})(?:\+([1-9]\d{0,5}))?$/.exec(part)
    const followers = Number(match?.[2] ?? 0)
    if (match?.[1] === undefined || numbers.length + followers >= maxRunning) {
      return undefined
    }
    const first = before + BigInt(match[1])
    if ((numbers.length > 0 && first === before) || first + BigInt(followers) >= maxXid) {
      return undefined
    }
    for (let index = 0; index <= followers; index++) {
      numbers.push(first + BigInt(index))
    }
    before = first + BigInt(followers)
  }
  return numbers
}

const encodeSnapshot = ({ end, running }: Snapshot): string => `${end}:${encodeNumbers(running)}`

const decodeNumber = (text: string | undefined): bigint | undefined => {
  const value = text !== undefined && /^(0|[1-9]\d{0,18})$/.test(text) ? BigInt(text) : undefined
  return value !== undefined && value <= maxXid ? value : undefined
}

const decodeSnapshot = (text: string | undefined): Snapshot | undefined => {
  const [first, list, ...surplus] = (text ?? "").split(":")
  const end = decodeNumber(first)
  const running = list === undefined || surplus.length > 0 ? undefined : decodeNumbers(list)
  return end === undefined || running === undefined || running.some((xid) => xid >= end) ? undefined : { end, running }
}

const encodeOpen = (open: ReadonlyArray<Open>): string => open.map(({ after, xid }) => `${xid}-${after}`).join(",")

const decodeOpen = (text: string): ReadonlyArray<Open> | undefined => {
  const open: Array<Open> = []
  for (const part of text === "" ? [] : text.split(",")) {
    const [first, second, ...surplus] = part.split("-")
    const xid = decodeNumber(first)
    const after = decodeNumber(second)
    if (xid === undefined || after === undefined || surplus.length > 0) {
      return undefined
    }
    open.push({ xid, after })
  }
  return open
}

/**
 * A position as base64url of its parts, separated by spaces: the version, a digest of the tables, the epoch, the cluster and the
 * snapshot; in a window also its snapshot, `entered`, `open` and `last`.
 */
export const encode = (tables: ReadonlyArray<string>, position: Position): Checkpoint => {
  const { cluster, delivered, epoch, window } = position
  return makeCheckpoint(
    Buffer.from(
      [
        version,
        binding(tables),
        epoch,
        cluster,
        encodeSnapshot(delivered),
        ...(window === undefined
          ? []
          : [encodeSnapshot(window.to), window.entered, encodeOpen(window.open), window.last])
      ].join(" ")
    ).toString("base64url")
  )
}

const invalidCheckpoint = (rule: string) => Either.left(new InvalidRequest({ field: "checkpoint", rule }))

export const foreignCluster = "belongs to another database: this one never was on its cluster"

export const decode = (tables: ReadonlyArray<string>, checkpoint: string): Either.Either<Position, InvalidRequest> => {
  const malformed = invalidCheckpoint("is not a checkpoint of a feed")
  const text = Buffer.from(checkpoint, "base64url").toString("utf8")
  if (Buffer.from(text).toString("base64url") !== checkpoint) {
    return malformed
  }
  const [writtenVersion, bound, epochText, cluster, deliveredText, ...windowText] = text.split(" ")
  if (writtenVersion === undefined || !/^\d{1,3}$/.test(writtenVersion)) {
    return malformed
  }
  if (writtenVersion !== version) {
    return invalidCheckpoint("was made by another version of Threadline")
  }
  const epoch = decodeNumber(epochText)
  const delivered = decodeSnapshot(deliveredText)
  if (
    epoch === undefined ||
    epoch > 2_147_483_647n ||
    delivered === undefined ||
    !/^[\w-]{12}$/.test(cluster ?? "") ||
    !/^[\w-]{12}$/.test(bound ?? "")
  ) {
    return malformed
  }
  const window = windowText.length === 0 ? undefined : decodeWindow(windowText)
  if (windowText.length > 0 && window === undefined) {
    return malformed
  }
  return bound === binding(tables)
    ? Either.right({ epoch: Number(epoch), cluster: cluster ?? "", delivered, window })
    : invalidCheckpoint("belongs to a feed of other tables")
}

const decodeWindow = (parts: ReadonlyArray<string>): Window | undefined => {
  const to = decodeSnapshot(parts[0])
  const entered = decodeNumber(parts[1])
  const open = parts[2] === undefined ? undefined : decodeOpen(parts[2])
  const last = decodeNumber(parts[3])
  return parts.length !== 4 || to === undefined || entered === undefined || open === undefined || last === undefined
    ? undefined
    : { to, entered, open, last }
}
