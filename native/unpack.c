/* unpack.c: nsrun-unpack: locks itself into the directory of a layer, and makes there what an archive says.
 *
 * In this order: settings, memory, root, limits, capabilities, filter; only then the archive. All memory there will
 * ever be is there before the first byte of it. It ends with its input, and so with whoever feeds it.
 */
#include "cleanup.h"
#include "kernel.h"
#include "unpack_confine.h"
#include "unpack_layer.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT = 0, REPORT = 1, TREE = 3, SPARE_DESCRIPTORS = 16 + NS_WRITER_FILES };

struct job {
        struct ns_unpack_settings settings;
        struct ns_unpack_failure failure;
        struct ns_input input;
        struct ns_tar tar;
        struct ns_layer layer;
        struct ns_writer writer;
        struct ns_entry entry;
        uint64_t entries;
        bool is_at_entry;
};

static ssize_t fill(void *context, void *buffer, size_t room)
{
        (void)context;
        ssize_t got = 0;
        do
                got = read(INPUT, buffer, room);
        while (got < 0 && errno == EINTR);
        return got;
}

static bool read_settings(struct ns_unpack_settings *settings)
{
        uint8_t *at = (uint8_t *)settings;
        for (size_t left = sizeof(*settings); left > 0;) {
                ssize_t got = fill(NULL, at, left);
                if (got <= 0)
                        return false;
                at += got;
                left -= (size_t)got;
        }
        return settings->magic == NS_UNPACK_MAGIC && settings->path <= NS_UNPACK_PATH_MAX &&
               settings->name <= NS_UNPACK_NAME_MAX && settings->header <= NS_UNPACK_HEADER_MAX &&
               settings->regions <= NS_UNPACK_REGIONS_MAX &&
               memchr(settings->opaque, '\0', sizeof(settings->opaque)) != NULL;
}

static char *path_buffer(void)
{
        return calloc(1, NS_UNPACK_PATH_MAX + 1);
}

static bool take_directories(struct ns_dirs *dirs)
{
        dirs->capacity = NS_DIRS_CAPACITY;
        dirs->slots = calloc(dirs->capacity, sizeof(dirs->slots[0]));
        for (size_t i = 0; dirs->slots != NULL && i < dirs->capacity; i++) {
                dirs->slots[i].path = path_buffer();
                if (dirs->slots[i].path == NULL)
                        return false;
        }
        return dirs->slots != NULL;
}

static bool take_places(struct ns_writer *writer)
{
        writer->files = calloc(NS_WRITER_FILES, sizeof(writer->files[0]));
        for (size_t i = 0; writer->files != NULL && i < NS_WRITER_FILES; i++) {
                writer->files[i].fd = -1;
                writer->files[i].path = path_buffer();
                writer->files[i].bytes = malloc(NS_WRITER_ROOM);
                if (writer->files[i].path == NULL || writer->files[i].bytes == NULL)
                        return false;
        }
        return writer->files != NULL;
}

static int take_memory(struct job *job)
{
        struct ns_tar *tar = &job->tar;
        job->input = (struct ns_input){.fill = fill, .buffer = malloc(NS_INPUT_ROOM), .failure = &job->failure};
        *tar = (struct ns_tar){
            .input = &job->input,
            .limits = &job->settings,
            .failure = &job->failure,
            .records = malloc(NS_UNPACK_HEADER_MAX),
            .path = path_buffer(),
            .target = path_buffer(),
            .regions = malloc(NS_UNPACK_REGIONS_MAX * sizeof(struct ns_region)),
            .long_path.text = path_buffer(),
            .long_target.text = path_buffer(),
        };
        job->layer = (struct ns_layer){
            .dirs = {.opaque = job->settings.opaque, .failure = &job->failure},
            .tar = tar,
            .writer = &job->writer,
            .limits = &job->settings,
            .failure = &job->failure,
            .place.directory = path_buffer(),
            .target.directory = path_buffer(),
        };
        if (job->input.buffer != NULL && tar->records != NULL && tar->path != NULL && tar->target != NULL &&
            tar->regions != NULL && tar->long_path.text != NULL && tar->long_target.text != NULL &&
            job->layer.place.directory != NULL && job->layer.target.directory != NULL &&
            take_directories(&job->layer.dirs) && take_places(&job->writer))
                return 0;
        job->failure =
            (struct ns_unpack_failure){.cause = NS_UNPACK_CONFINE, .error = ENOMEM, .number = NS_UNPACK_STEP_MEMORY};
        return -1;
}

/* As many directories stay open as there is room for descriptors. */
static int lock_in(struct job *job)
{
        bool trusted = strncmp(job->settings.opaque, "trusted.", strlen("trusted.")) == 0;
        int root = ns_confine_root(TREE, &job->failure);
        if (root < 0)
                return -1;
        if (ns_writer_start(&job->writer) < 0) {
                job->failure = job->writer.failure;
                return -1;
        }
        if (ns_confine_process(trusted, &job->failure) < 0)
                return -1;
        close(TREE);
        int highest = fcntl(root, F_DUPFD_CLOEXEC, NS_DIRS_CAPACITY + SPARE_DESCRIPTORS - 1);
        if (highest < 0)
                job->layer.dirs.capacity = SPARE_DESCRIPTORS;
        ns_close_fd(&highest);
        return ns_dirs_begin(&job->layer.dirs, root);
}

/* Of what failed at another file than the one that is being read, the file is told. */
static int written(struct job *job)
{
        struct ns_writer *writer = &job->writer;
        if (ns_writer_finish(writer) == 0)
                return 0;
        job->failure = writer->failure;
        job->entry = writer->files[writer->done % NS_WRITER_FILES].entry;
        job->is_at_entry = true;
        return -1;
}

static int make_all(struct job *job)
{
        int more = 0;
        while ((more = ns_tar_next(&job->tar, &job->entry)) > 0) {
                job->is_at_entry = true;
                if (ns_layer_add(&job->layer, &job->entry) < 0)
                        return -1;
                job->is_at_entry = false;
                job->entries++;
        }
        return more < 0 || ns_input_drain(&job->input) < 0 ? -1 : 0;
}

/* A file that could not be written comes before whatever else went wrong after it. */
static int unpack(struct job *job)
{
        int made = make_all(job);
        if (written(job) < 0 || made < 0)
                return -1;
        return ns_dirs_finish(&job->layer.dirs);
}

static size_t bounded(size_t length)
{
        return length < NS_UNPACK_TEXT_MAX ? length : NS_UNPACK_TEXT_MAX;
}

static void report(const struct job *job)
{
        uint8_t message[sizeof(struct ns_unpack_report) + 2 * NS_UNPACK_TEXT_MAX];
        const struct ns_unpack_failure *failure = &job->failure;
        size_t path_length = job->is_at_entry ? bounded(job->entry.path_length) : 0;
        size_t text_length = bounded(failure->text_length);
        struct ns_unpack_report head = {
            .cause = failure->cause,
            .error = failure->error,
            .number = failure->number,
            .entries = job->entries,
            .size = job->layer.size,
            .has_path = job->is_at_entry,
            .path_length = (uint32_t)path_length,
            .text_length = (uint32_t)text_length,
        };
        memcpy(message, &head, sizeof(head));
        if (path_length > 0)
                memcpy(message + sizeof(head), job->entry.path, path_length);
        if (text_length > 0)
                memcpy(message + sizeof(head) + path_length, failure->text, text_length);
        ssize_t written = write(REPORT, message, sizeof(head) + path_length + text_length);
        (void)written; /* whoever wanted to know is gone */
}

int main(void)
{
        struct job job = {0};
        int done = 0;
        if (!read_settings(&job.settings))
                done = ns_fail(&job.failure, NS_UNPACK_SETTINGS);
        if (done == 0)
                done = take_memory(&job);
        if (done == 0)
                done = lock_in(&job);
        if (done == 0)
                done = unpack(&job);
        report(&job);
        _exit(done == 0 ? 0 : 1);
}
