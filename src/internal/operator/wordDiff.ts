/** Compares two texts word by word, and two JSON documents place by place. */
import * as Json from "../../Json.js"
import { memberOf, type Redaction } from "./masks.js"
import { cut } from "./visible.js"

export interface Segment {
  readonly kind: "same" | "del" | "ins" | "fold"
  readonly text: string
}

const words = (text: string): ReadonlyArray<string> => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? []

/** Texts with more words than this are shown as replaced as a whole: the comparison takes quadratic time. */
const comparable = 300

const push = (segments: Array<Segment>, kind: Segment["kind"], text: string): void => {
  const last = segments.at(-1)
  if (text === "") {
    return
  }
  if (last?.kind === kind) {
    segments[segments.length - 1] = { kind, text: last.text + text }
  } else {
    segments.push({ kind, text })
  }
}

/** Compares by the longest common subsequence. */
const compared = (before: ReadonlyArray<string>, after: ReadonlyArray<string>): ReadonlyArray<Segment> => {
  const width = after.length + 1
  const lengths = new Uint16Array((before.length + 1) * width)
  const at = (row: number, column: number): number => lengths[row * width + column] ?? 0
  for (let row = before.length - 1; row >= 0; row--) {
    for (let column = after.length - 1; column >= 0; column--) {
      lengths[row * width + column] =
        before[row] === after[column] ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1))
    }
  }
  const segments: Array<Segment> = []
  let [row, column] = [0, 0]
  while (row < before.length || column < after.length) {
    const [left, right] = [before[row], after[column]]
    if (left !== undefined && left === right) {
      push(segments, "same", left)
      row++
      column++
    } else if (left !== undefined && (right === undefined || at(row + 1, column) >= at(row, column + 1))) {
      push(segments, "del", left)
      row++
    } else {
      push(segments, "ins", right ?? "")
      column++
    }
  }
  return segments
}

/** Joins changes that only white space separates: `one [two] [three]` is hard to read. */
const gathered = (segments: ReadonlyArray<Segment>): ReadonlyArray<Segment> => {
  const result: Array<Segment> = []
  let [del, ins] = ["", ""]
  const flush = () => {
    push(result, "del", del)
    push(result, "ins", ins)
    ;[del, ins] = ["", ""]
  }
  segments.forEach((segment, index) => {
    const next = segments[index + 1]
    if (segment.kind === "del") {
      del += segment.text
    } else if (segment.kind === "ins") {
      ins += segment.text
    } else if (segment.text.trim() === "" && next !== undefined && next.kind !== "same" && (del !== "" || ins !== "")) {
      del += segment.text
      ins += segment.text
    } else {
      flush()
      push(result, segment.kind, segment.text)
    }
  })
  flush()
  return result
}

const counted = new Intl.NumberFormat("en")

/** Shortens equal text to `around` characters on each side of a change, and changed text to `most` characters. */
const folded = (segments: ReadonlyArray<Segment>, around: number, most: number): ReadonlyArray<Segment> =>
  segments.flatMap((segment, index): ReadonlyArray<Segment> => {
    const { kind, text } = segment
    if (kind !== "same") {
      return text.length <= most
        ? [segment]
        : [
            { kind, text: cut(text, most) },
            { kind: "fold", text: `… ${counted.format(text.length - most)} more characters` }
          ]
    }
    const [first, last] = [index === 0, index === segments.length - 1]
    if (text.length <= around * 2 + 24) {
      return [segment]
    }
    const note: Segment = {
      kind: "fold",
      text: ` … ${counted.format(text.length - around * (first || last ? 1 : 2))} equal … `
    }
    return [
      ...(first ? [] : [{ kind, text: cut(text, around) } as const]),
      note,
      ...(last ? [] : [{ kind, text: text.slice(-around) } as const])
    ]
  })

/** The segments that turn `before` into `after`. Of each changed segment, at most `most` characters are shown. */
export const wordDiff = (before: string, after: string, most: number): ReadonlyArray<Segment> => {
  let start = 0
  const shortest = Math.min(before.length, after.length)
  while (start < shortest && before.charCodeAt(start) === after.charCodeAt(start)) {
    start++
  }
  // Go back to the beginning of a word, so that no word is marked in half.
  while (
    start > 0 &&
    /[\p{L}\p{N}_\ud800-\udfff]/u.test(before.charAt(start - 1)) &&
    start < Math.max(before.length, after.length)
  ) {
    start--
  }
  let end = 0
  while (
    end < shortest - start &&
    before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end)
  ) {
    end++
  }
  while (end > 0 && /[\p{L}\p{N}_\ud800-\udfff]/u.test(before.charAt(before.length - end))) {
    end--
  }
  const [left, right] = [before.slice(start, before.length - end), after.slice(start, after.length - end)]
  const segments: Array<Segment> = []
  push(segments, "same", before.slice(0, start))
  const tooLong = left.length > 20_000 || right.length > 20_000
  const [leftWords, rightWords] = tooLong ? [[], []] : [words(left), words(right)]
  if (tooLong || leftWords.length > comparable || rightWords.length > comparable) {
    push(segments, "del", left)
    push(segments, "ins", right)
  } else {
    for (const { kind, text } of compared(leftWords, rightWords)) {
      push(segments, kind, text)
    }
  }
  push(segments, "same", before.slice(before.length - end))
  return folded(gathered(segments), 48, most)
}

/** A place in a document whose value differs. `before` or `after` is missing if that side does not have the place. */
export interface Place {
  readonly path: string
  readonly before?: Json.JsonValue
  readonly after?: Json.JsonValue
  /** What the redaction policy hides here. */
  readonly redaction?: Redaction
}

const isList = (value: Json.JsonValue): value is Json.JsonArray => Array.isArray(value)

const same = (left: Json.JsonValue, right: Json.JsonValue): boolean => Json.stringify(left) === Json.stringify(right)

const keyText = (key: string): string => (/^[A-Za-z_][A-Za-z0-9_-]*$/.test(key) ? key : JSON.stringify(key))

const below = (path: string, key: string): string => (path === "" ? key : `${path}.${key}`)

/** Documents are compared down to this depth. Below it, a whole branch is one place. */
const deepest = 48

/** The places where two documents differ, and how many members beside them are equal. */
export const structuralDiff = (
  before: Json.JsonValue,
  after: Json.JsonValue,
  redaction?: Redaction
): { readonly places: ReadonlyArray<Place>; readonly equal: number } => {
  const places: Array<Place> = []
  let equal = 0
  const walk = (
    path: string,
    left: Json.JsonValue,
    right: Json.JsonValue,
    depth: number,
    redaction: Redaction | undefined
  ): void => {
    if (depth < deepest && Json.isObject(left) && Json.isObject(right)) {
      for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
        const [was, is] = [
          Object.hasOwn(left, key) ? left[key] : undefined,
          Object.hasOwn(right, key) ? right[key] : undefined
        ]
        member(below(path, keyText(key)), was, is, depth, memberOf(redaction, [key]))
      }
    } else if (depth < deepest && isList(left) && isList(right)) {
      lists(path, left, right, depth, redaction)
    } else {
      addPlace(path, left, right, redaction)
    }
  }
  const addPlace = (
    path: string,
    was: Json.JsonValue | undefined,
    is: Json.JsonValue | undefined,
    redaction: Redaction | undefined
  ): void => {
    places.push({
      path,
      ...(was === undefined ? {} : { before: was }),
      ...(is === undefined ? {} : { after: is }),
      ...(redaction === undefined ? {} : { redaction })
    })
  }
  const member = (
    path: string,
    was: Json.JsonValue | undefined,
    is: Json.JsonValue | undefined,
    depth: number,
    redaction: Redaction | undefined
  ): void => {
    if (was === undefined || is === undefined) {
      addPlace(path, was, is, redaction)
    } else if (same(was, is)) {
      equal++
    } else {
      walk(path, was, is, depth + 1, redaction)
    }
  }
  /** Skips equal items at the beginning and at the end. Compares the items between them by index. */
  const lists = (
    path: string,
    left: Json.JsonArray,
    right: Json.JsonArray,
    depth: number,
    redaction: Redaction | undefined
  ): void => {
    const pair = (index: number, other: number): boolean => {
      const [was, is] = [left[index], right[other]]
      return was !== undefined && is !== undefined && same(was, is)
    }
    let start = 0
    while (start < left.length && start < right.length && pair(start, start)) {
      start++
    }
    let end = 0
    while (end < Math.min(left.length, right.length) - start && pair(left.length - 1 - end, right.length - 1 - end)) {
      end++
    }
    equal += start + end
    const most = Math.max(left.length, right.length) - end
    for (let index = start; index < most; index++) {
      const was = index < left.length - end ? left[index] : undefined
      const is = index < right.length - end ? right[index] : undefined
      member(`${path}[${index}]`, was, is, depth, redaction)
    }
  }
  walk("", before, after, 0, redaction)
  return { places, equal }
}
