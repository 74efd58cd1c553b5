import { describe, expect, it } from "vitest"
import { code, listed, nothing } from "../../../src/internal/capture/generate/code.js"
import { literal } from "../../../src/internal/sql/sqlText.js"

describe("lines of generated code", () => {
  const loop = code`
    loop
      exit;
    end loop;
  `

  it("lose the indentation that all of a template share", () => {
    expect(loop).toEqual(["loop", "  exit;", "end loop;"])
    expect(code`
      ${"a"}
        b
    `).toEqual(["a", "  b"])
  })

  it("stand at the depth of the line that they are put into", () => {
    expect(code`
      begin
        ${loop}
      end
    `).toEqual(["begin", "  loop", "    exit;", "  end loop;", "end"])
  })

  it("begin and end inside a line if there is text beside them", () => {
    expect(code`
      select (${listed(["1", "2"])}) x
      from ${code`
        (
          values (1)
        )
      `} y;
    `).toEqual(["select (1,", "2) x", "from (", "  values (1)", ") y;"])
  })

  it("leave a line out that has nothing in it, but keep the empty lines of a template", () => {
    expect(code`
      a

      ${nothing}
      ${nothing} b
      ${nothing}${nothing}
    `).toEqual(["a", "", " b"])
  })

  it("do not indent a name that has a line break in it", () => {
    const name = literal("first\nsecond")
    expect(code`
      if true then
        ${code`
          if ${name} is null then
            ${loop}
          end if;
        `}
      end if;
    `).toEqual([
      "if true then",
      "  if 'first\nsecond' is null then",
      "    loop",
      "      exit;",
      "    end loop;",
      "  end if;",
      "end if;"
    ])
  })
})
