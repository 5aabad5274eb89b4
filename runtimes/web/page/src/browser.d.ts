/** Of the File System Access API, which TypeScript's DOM does not have whole. */
interface Window {
  showDirectoryPicker?(options: { id?: string; mode?: "read" }): Promise<FileSystemDirectoryHandle>;
}

interface FileSystemHandle {
  queryPermission?(options: { mode: "read" }): Promise<PermissionState>;
}

interface Performance {
  measureUserAgentSpecificMemory?(): Promise<{ bytes: number }>;
}
