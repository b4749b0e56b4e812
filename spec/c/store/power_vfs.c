/* A disk whose power can be cut; see power_vfs.h. */
#include "power_vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512 /* the unit in which a write tears */
#define FILES 8
#define PATH_ROOM 512

typedef enum change_kind { WRITTEN, TRUNCATED, DELETED } change_kind;

typedef struct change {
  change_kind kind;
  size_t offset; /* TRUNCATED: the new size */
  size_t size;
  unsigned char *bytes;
} change;

typedef struct content {
  bool exists;
  unsigned char *bytes;
  size_t size;
} content;

/* One path that is followed. */
typedef struct disk_file {
  char path[PATH_ROOM]; /* "": free */
  content synced;
  change *changes;
  size_t count, room;
} disk_file;

/* SQLite's handle; the real VFS's handle stands behind it. */
typedef struct power_handle {
  sqlite3_file base;
  disk_file *disk;     /* NULL: not followed */
  bool sync_directory; /* its first flush flushes the directory too, as the real VFS does for logs and journals */
} power_handle;

power_state power;
static bool following;
static disk_file files[FILES];
static sqlite3_vfs *real;
static sqlite3_vfs vfs;
static uint64_t noise = 1; /* for SQLite's own random numbers: a run can be repeated */

static sqlite3_file *behind(sqlite3_file *file) { return (sqlite3_file *)((power_handle *)file + 1); }

static int dead(int code) {
  errno = EIO;
  return code;
}

static uint64_t next_random(uint64_t *seed) {
  *seed += UINT64_C(0x9E3779B97F4A7C15);
  uint64_t x = *seed;
  x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
  return x ^ (x >> 31);
}

/* ---- What is on the disk ----------------------------------------------------------------------------------------------- */

static void *need(void *pointer) {
  if (pointer) return pointer;
  fprintf(stderr, "no memory for the test's disk\n");
  abort();
}

static void resize(content *c, size_t size) {
  if (size > c->size) {
    c->bytes = need(realloc(c->bytes, size));
    memset(c->bytes + c->size, 0, size - c->size);
  }
  c->size = size;
}

static void put(content *c, size_t offset, const unsigned char *bytes, size_t size) {
  if (offset + size > c->size) resize(c, offset + size);
  if (size) memcpy(c->bytes + offset, bytes, size);
}

static void apply(content *c, const change *made) {
  c->exists = made->kind != DELETED;
  switch (made->kind) {
  case WRITTEN: put(c, made->offset, made->bytes, made->size); break;
  case TRUNCATED: resize(c, made->offset); break;
  case DELETED: c->size = 0; break;
  }
}

/* Of a write, any of its sectors; where the file was not so long before, what stands in the others is anything. */
static void tear(content *c, const change *made, uint64_t *seed) {
  static const unsigned char rubbish[SECTOR] = {0xA5, 0x5A, 0xA5};
  size_t end = made->offset + made->size, next;
  uint64_t whole = next_random(seed) % 4; /* most often all or nothing */
  for (size_t at = made->offset; at < end; at = next) {
    next = (at / SECTOR + 1) * SECTOR;
    if (next > end) next = end;
    uint64_t chance = whole == 0 ? 0 : whole == 1 ? 3 : next_random(seed) % 4;
    c->exists = true;
    if (chance >= 2) put(c, at, made->bytes + (at - made->offset), next - at);
    else if (chance == 1 && at >= c->size) put(c, at, rubbish, next - at);
  }
}

static void apply_some(content *c, const change *made, uint64_t *seed) {
  if (made->kind == WRITTEN) tear(c, made, seed);
  else if (next_random(seed) & 1) apply(c, made);
}

static void forget_changes(disk_file *file, size_t count) {
  for (size_t i = 0; i < count; i++) free(file->changes[i].bytes);
  file->count -= count;
  if (file->count) memmove(file->changes, file->changes + count, file->count * sizeof *file->changes);
}

static void note(disk_file *file, change_kind kind, size_t offset, const void *bytes, size_t size) {
  if (!following || !file) return;
  if (file->count == file->room) {
    file->room = file->room ? 2 * file->room : 64;
    file->changes = need(realloc(file->changes, file->room * sizeof *file->changes));
  }
  change *made = &file->changes[file->count++];
  *made = (change){.kind = kind, .offset = offset, .size = size, .bytes = need(malloc(size + 1))};
  if (size) memcpy(made->bytes, bytes, size);
}

static disk_file *find(const char *path, bool make) {
  disk_file *unused = NULL;
  for (size_t i = 0; i < FILES; i++) {
    if (strcmp(files[i].path, path) == 0) return &files[i];
    if (!files[i].path[0] && !unused) unused = &files[i];
  }
  if (!make) return NULL;
  need(unused);
  snprintf(unused->path, sizeof unused->path, "%s", path);
  return unused;
}

static void flush(disk_file *file) {
  for (size_t i = 0; i < file->count; i++) apply(&file->synced, &file->changes[i]);
  if (!file->count && access(file->path, F_OK) == 0) file->synced.exists = true;
  forget_changes(file, file->count);
}

/* Files that were deleted do not come back from here on. */
static void flush_directory(void) {
  for (size_t i = 0; i < FILES; i++) {
    size_t gone = 0;
    for (size_t j = 0; j < files[i].count; j++)
      if (files[i].changes[j].kind == DELETED) gone = j + 1;
    if (!gone) continue;
    files[i].synced.exists = false;
    files[i].synced.size = 0;
    forget_changes(&files[i], gone);
  }
}

/* ---- One file's methods ------------------------------------------------------------------------------------------------ */

#define REAL(file, method, ...) behind(file)->pMethods->method(behind(file), ##__VA_ARGS__)

static int file_close(sqlite3_file *file) {
  int code = REAL(file, xClose);
  file->pMethods = NULL;
  return code;
}

static int file_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset) {
  return power.off ? dead(SQLITE_IOERR_READ) : REAL(file, xRead, bytes, size, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
  if (power.off) return dead(SQLITE_IOERR_WRITE);
  int code = REAL(file, xWrite, bytes, size, offset);
  if (code == SQLITE_OK) note(((power_handle *)file)->disk, WRITTEN, (size_t)offset, bytes, (size_t)size);
  return code;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
  if (power.off) return dead(SQLITE_IOERR_TRUNCATE);
  int code = REAL(file, xTruncate, size);
  if (code == SQLITE_OK) note(((power_handle *)file)->disk, TRUNCATED, (size_t)size, NULL, 0);
  return code;
}

static int file_sync(sqlite3_file *file, int flags) {
  (void)flags;
  power_handle *handle = (power_handle *)file;
  if (power.off) return dead(SQLITE_IOERR_FSYNC);
  if (!following || !handle->disk) return SQLITE_OK;
  power.syncs++;
  if (power.syncs == power.cut_at) {
    power_cut();
    return dead(SQLITE_IOERR_FSYNC);
  }
  if (power.syncs == power.fail_at) {
    uint64_t seed = (uint64_t)power.fail_at;
    for (size_t i = 0; i < handle->disk->count && power.fail_some; i++)
      apply_some(&handle->disk->synced, &handle->disk->changes[i], &seed);
    forget_changes(handle->disk, handle->disk->count);
    return dead(SQLITE_IOERR_FSYNC);
  }
  flush(handle->disk);
  if (handle->sync_directory) flush_directory();
  handle->sync_directory = false;
  return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
  return power.off ? dead(SQLITE_IOERR_FSTAT) : REAL(file, xFileSize, size);
}
static int file_lock(sqlite3_file *file, int lock) { return power.off ? dead(SQLITE_IOERR_LOCK) : REAL(file, xLock, lock); }
static int file_unlock(sqlite3_file *file, int lock) { return REAL(file, xUnlock, lock); }
static int file_is_reserved(sqlite3_file *file, int *answer) {
  return power.off ? dead(SQLITE_IOERR_CHECKRESERVEDLOCK) : REAL(file, xCheckReservedLock, answer);
}
static int file_control(sqlite3_file *file, int what, void *value) { return REAL(file, xFileControl, what, value); }
static int file_sector(sqlite3_file *file) { return REAL(file, xSectorSize); }
static int file_device(sqlite3_file *file) { return REAL(file, xDeviceCharacteristics); }
static int file_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **memory) {
  return power.off ? dead(SQLITE_IOERR_SHMMAP) : REAL(file, xShmMap, region, size, extend, memory);
}
static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
  return power.off && (flags & SQLITE_SHM_LOCK) ? dead(SQLITE_IOERR_SHMLOCK) : REAL(file, xShmLock, offset, count, flags);
}
static void file_shm_barrier(sqlite3_file *file) { REAL(file, xShmBarrier); }
static int file_shm_unmap(sqlite3_file *file, int remove) { return REAL(file, xShmUnmap, remove); }

/* Version 2: without mapped reads, which would go past it. */
static const sqlite3_io_methods methods = {.iVersion = 2,
                                           .xClose = file_close,
                                           .xRead = file_read,
                                           .xWrite = file_write,
                                           .xTruncate = file_truncate,
                                           .xSync = file_sync,
                                           .xFileSize = file_size,
                                           .xLock = file_lock,
                                           .xUnlock = file_unlock,
                                           .xCheckReservedLock = file_is_reserved,
                                           .xFileControl = file_control,
                                           .xSectorSize = file_sector,
                                           .xDeviceCharacteristics = file_device,
                                           .xShmMap = file_shm_map,
                                           .xShmLock = file_shm_lock,
                                           .xShmBarrier = file_shm_barrier,
                                           .xShmUnmap = file_shm_unmap};

/* ---- The VFS ----------------------------------------------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *out_flags) {
  (void)self;
  power_handle *handle = (power_handle *)file;
  *handle = (power_handle){0};
  if (power.off) return dead(SQLITE_IOERR);
  memset(behind(file), 0, (size_t)real->szOsFile);
  int code = real->xOpen(real, name, behind(file), flags, out_flags);
  if (code != SQLITE_OK) {
    if (behind(file)->pMethods) REAL(file, xClose);
    return code;
  }
  bool is_log = flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL);
  if (following && name && (is_log || flags & SQLITE_OPEN_MAIN_DB)) handle->disk = find(name, true);
  handle->sync_directory = is_log && flags & SQLITE_OPEN_CREATE;
  handle->base.pMethods = &methods;
  return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *self, const char *name, int sync_directory) {
  (void)self;
  if (power.off) return dead(SQLITE_IOERR_DELETE);
  int code = real->xDelete(real, name, 0);
  disk_file *disk = find(name, false);
  if (code != SQLITE_OK || !disk) return code;
  note(disk, DELETED, 0, NULL, 0);
  if (following && sync_directory) flush_directory();
  return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *self, const char *name, int flags, int *answer) {
  (void)self;
  return power.off ? dead(SQLITE_IOERR_ACCESS) : real->xAccess(real, name, flags, answer);
}

static int vfs_randomness(sqlite3_vfs *self, int size, char *bytes) {
  (void)self;
  for (int i = 0; i < size; i++) bytes[i] = (char)next_random(&noise);
  return size;
}

void power_install(void) {
  real = sqlite3_vfs_find(NULL);
  vfs = *real;
  vfs.zName = "power";
  vfs.pNext = NULL;
  vfs.szOsFile = (int)sizeof(power_handle) + real->szOsFile;
  vfs.xOpen = vfs_open;
  vfs.xDelete = vfs_delete;
  vfs.xAccess = vfs_access;
  vfs.xRandomness = vfs_randomness;
  if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK) abort();
}

/* ---- The power --------------------------------------------------------------------------------------------------------- */

void power_end(void) {
  for (size_t i = 0; i < FILES; i++) {
    forget_changes(&files[i], files[i].count);
    free(files[i].changes);
    free(files[i].synced.bytes);
    files[i] = (disk_file){0};
  }
  following = false;
  power = (power_state){0};
}

void power_start(int cut_at, int fail_at) {
  power_end();
  power.cut_at = cut_at;
  power.fail_at = fail_at;
  following = true;
}

void power_cut(void) {
  power.off = true;
  following = false;
}

static void rewrite(const char *path, const content *c) {
  if (!c->exists) {
    unlink(path);
    return;
  }
  FILE *out = need(fopen(path, "wb"));
  if ((c->size && fwrite(c->bytes, 1, c->size, out) != c->size) || fclose(out) != 0) abort();
}

void power_restore(power_left left, uint64_t seed) {
  for (size_t i = 0; i < FILES; i++) {
    if (!files[i].path[0]) continue;
    content after = {.exists = files[i].synced.exists};
    put(&after, 0, files[i].synced.bytes, files[i].synced.size);
    for (size_t j = 0; j < files[i].count && left != LEFT_SYNCED; j++) {
      if (left == LEFT_ALL) apply(&after, &files[i].changes[j]);
      else apply_some(&after, &files[i].changes[j], &seed);
    }
    rewrite(files[i].path, &after);
    free(after.bytes);
    char shm[PATH_ROOM + 8]; /* memory, in truth */
    snprintf(shm, sizeof shm, "%.*s-shm", PATH_ROOM, files[i].path);
    unlink(shm);
  }
  power.off = false;
}
