import { useRef, useState } from "preact/hooks";

import type { Place } from "../engine/places.ts";
import { load } from "../model.ts";
import { dialog, notify } from "../state.ts";
import { Icon } from "./icons.tsx";

/** Ways to a bundle: a folder of this device, a bundle in one file, an address. A file can be dropped too. */
export function Chooser() {
  const [url, setUrl] = useState("");
  const [over, setOver] = useState(false);
  const onDrop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer?.files[0];
    if (file) use({ kind: "archive", file });
  };
  return (
    <div
      class={`chooser${over ? " over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={onDrop}
    >
      <div class="row">
        <Folder />
        <Archive />
      </div>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          useAddress(url);
        }}
      >
        <label class="grow">
          <span>Or the address of one</span>
          <input
            type="url"
            inputMode="url"
            placeholder="https://…/bundle/ or …/bundle.zip"
            value={url}
            onInput={(event) => setUrl(event.currentTarget.value)}
            required
          />
        </label>
        <button type="submit" class="text-button end">
          Load
        </button>
      </form>
    </div>
  );
}

function Folder() {
  const input = useRef<HTMLInputElement>(null);
  const pick = () => {
    if (!window.showDirectoryPicker) return input.current?.click();
    void window
      .showDirectoryPicker({ id: "bundle", mode: "read" })
      .then((handle) => use({ kind: "directory", handle }))
      .catch(() => undefined); // nothing was chosen
  };
  return (
    <>
      <button type="button" class="outlined-button" onClick={pick}>
        <Icon name="folder" /> Open a bundle's folder
      </button>
      <input
        ref={input}
        type="file"
        class="hidden"
        aria-label="A bundle's folder"
        tabIndex={-1}
        {...{ webkitdirectory: true }}
        onChange={({ currentTarget: { files } }) => files?.length && use({ kind: "files", files: [...files] })}
      />
    </>
  );
}

function Archive() {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class="outlined-button" onClick={() => input.current?.click()}>
        <Icon name="file" /> Open a bundle in one file
      </button>
      <input
        ref={input}
        type="file"
        accept=".zip"
        class="hidden"
        aria-label="A bundle in one file"
        tabIndex={-1}
        onChange={({ currentTarget: { files } }) => files?.[0] && use({ kind: "archive", file: files[0] })}
      />
    </>
  );
}

function useAddress(text: string): void {
  try {
    const url = new URL(text, document.baseURI);
    if (!url.pathname.endsWith(".zip") && !url.pathname.endsWith("/")) url.pathname += "/";
    use({ kind: "url", url: url.href });
  } catch {
    notify({ id: "model", kind: "error", text: `${text} is no address; it begins with https://` });
  }
}

function use(place: Place): void {
  dialog.value = null;
  void load(place);
}
